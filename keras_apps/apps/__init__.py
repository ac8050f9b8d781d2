"""Applications: one file each, one public class that answers the loop's contract."""
