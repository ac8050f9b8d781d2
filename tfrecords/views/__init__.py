"""Views: (images [b,H,W,C], seed [2], strength) -> tuple of [b,V,h,w,C]; several looks at each image, one file each."""
