"""Which lines of standard input are molecules: 1 or 0 for each, as RDKit reads them."""

import sys

from rdkit import Chem, RDLogger

RDLogger.DisableLog("rdApp.*")
for line in sys.stdin:
    text = line.rstrip("\n")
    sys.stdout.write(f"{int(bool(text) and Chem.MolFromSmiles(text) is not None)}\n")
