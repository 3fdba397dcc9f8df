"""Where the bytes of images are: object stores, their locations, and reading by URI."""
