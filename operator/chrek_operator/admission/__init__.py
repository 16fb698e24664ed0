"""The operator's admission webhooks: pods get the shim, and objects that cannot work are refused with the reason."""
