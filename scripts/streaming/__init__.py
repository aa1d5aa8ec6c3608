"""The streamed build of the Kong plugin: all modules in one file, for Kong's custom plugin streaming."""
