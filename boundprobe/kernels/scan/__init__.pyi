from .operation import SELECTIVE_SCAN as SELECTIVE_SCAN
from .operation import selective_scan as selective_scan
from .reference import selective_scan_reference as selective_scan_reference
