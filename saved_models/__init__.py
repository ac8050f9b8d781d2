"""SavedModel versions: signatures, export, verification, version folders and the gallery."""
