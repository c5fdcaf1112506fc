from .rows import answer_case as answer_case
from .rows import entropy_bits as entropy_bits
from .rows import is_uniform_product as is_uniform_product
from .rows import row_classes as row_classes
from .rows import value_counts as value_counts
from .window_pair import farthest_pair as farthest_pair
