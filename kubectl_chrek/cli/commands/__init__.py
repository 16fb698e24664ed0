"""One thin file per command: flags in, `ops` called, `output` out."""
