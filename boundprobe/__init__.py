"""boundprobe: memory lower bounds for sequence models, from the proof to the trained model and back.

Tasks and bounds need numpy alone; a name that needs torch imports it when it is first used.

>>> import boundprobe as bp
>>> task = bp.build_task("selective-copying", {})
>>> round(bp.bounds_report(task, error=1 / 3).state.fano_bits, 3)
25.419
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
