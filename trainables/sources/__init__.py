"""Where samples come from: rows of files, folders and data sets, and the images beside them."""
