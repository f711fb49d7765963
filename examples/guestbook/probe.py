"""A healthcheck over HTTP: succeeds if the URL answers 200. Usage: probe.py URL"""

from __future__ import annotations

import sys
from urllib.request import urlopen

urlopen(sys.argv[1], timeout=2).close()
