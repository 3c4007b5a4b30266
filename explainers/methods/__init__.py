"""The black-box methods, one file each: importing a file declares its method."""
