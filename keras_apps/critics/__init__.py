"""Networks that score how real an image looks."""
