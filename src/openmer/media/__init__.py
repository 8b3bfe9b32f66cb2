"""Pictures in and out: files, folders and cameras, upright, with exact times; writing video."""
