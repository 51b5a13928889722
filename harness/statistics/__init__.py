"""What a comparison of methods over several data sets allows one to say: numbers in, numbers and sentences out."""
