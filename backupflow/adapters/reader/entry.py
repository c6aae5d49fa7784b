"""The program of the process that reads: `python -I -S -B entry.py ROOT PARENT PROCESSOR_SECONDS SECONDS BYTES`.

Isolated (-I) and without site (-S), nothing of the working directory, of PYTHONPATH or of a .pth file is imported. ROOT
is where the package lies that the worker itself runs (a tree, or site-packages); it comes last, so that the standard
library wins over whatever lies beside it.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    from backupflow.adapters.reader.child import main

    main(*map(int, sys.argv[2:]))
