"""Heads: embeddings and class labels -> one loss value an example, with the class weights inside."""
