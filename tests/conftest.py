"""What all tests share: a clean environment, set before anything of ours is imported."""

import os
import signal

for variable in ("NO_COLOR", "FORCE_COLOR", "TEXTUAL_THEME", "KUBECONFIG"):
    os.environ.pop(variable, None)
os.environ["TEXTUAL_ANIMATIONS"] = "none"
os.environ["TZ"] = "UTC"
# A shell's background job ignores these, and what a test starts would inherit that. A handler is not inherited, and does as little.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
