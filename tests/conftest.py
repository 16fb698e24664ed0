"""What all tests share: a clean environment, set before anything of ours is imported."""

import os

for variable in ("NO_COLOR", "FORCE_COLOR", "TEXTUAL_THEME", "KUBECONFIG"):
    os.environ.pop(variable, None)
os.environ["TEXTUAL_ANIMATIONS"] = "none"
os.environ["TZ"] = "UTC"
