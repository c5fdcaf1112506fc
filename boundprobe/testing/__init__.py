"""Contract checks for tasks, bounds and mixers, and hypothesis strategies for tiny tasks.

``check_task`` holds a task against its own definition, ``check_bound`` a lower bound against every machine on
random tiny answer tables: a bound that is too high is caught by the machine that beats it.  ``check_mixer`` holds a
sequence mixer against the contract of ``boundprobe.models.mixer.AbstractMixer``; it alone needs torch.
``boundprobe.channels`` has states whose information is known, to test methods that measure it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
