from .families import FAMILIES as FAMILIES
from .layer_size import DTYPE_BITS as DTYPE_BITS
from .layer_size import LayerSize as LayerSize
from .layer_size import StateSizes as StateSizes
from .sizes import model_sizes as model_sizes
from .sizes import state_sizes as state_sizes
