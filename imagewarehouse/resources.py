"""Files that come with the code: processors, flow definitions, the model and Solr's configset, wherever the package lies.

In the repository and in a NAR they lie beside the package; a wheel has them inside, see setup.py.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSIDE = _PACKAGE / "resources"
REPOSITORY = _PACKAGE.parent  # only where this is a checkout
ROOT = _INSIDE if _INSIDE.is_dir() else REPOSITORY

PROCESSORS = ROOT / "processors"
FLOW = ROOT / "flows" / "image-warehouse.json"
TLS_FLOW = ROOT / "flows" / "image-warehouse-tls.json"
MODEL = ROOT / "model" / "cifar10"
CONFIGSET = ROOT / "nifi-conf" / "solr" / "conf"
"""Of the Solr collection that searches go to."""
STAND_IN = _PACKAGE / "nifi" / "stand_in"
"""Has a `nifiapi` of ours. Put on the path where NiFi's own is not, never beside it."""
