"""Networks that turn a latent vector into an image."""
