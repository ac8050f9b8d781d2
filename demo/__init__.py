"""The whole way in one command: images, records, training, export, server, answers, report."""
