"""Makes the programs under ``scripts/`` importable."""

import sys

from deploy_support import ROOT

sys.path.append(str(ROOT / "scripts"))
