from .operation import SHORT_CONVOLUTION as SHORT_CONVOLUTION
from .operation import short_convolution as short_convolution
from .reference import short_convolution_reference as short_convolution_reference
