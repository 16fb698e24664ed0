"""What each kind of server is asked before its capture and after its restore: four calls a module, see `contract`."""
