from .bounds import Machine as Machine
from .bounds import check_bound as check_bound
from .bounds import encoders as encoders
from .bounds import machines as machines
from .bounds import tiny_tasks as tiny_tasks
from .mixers import check_mixer as check_mixer
from .tasks import check_task as check_task
