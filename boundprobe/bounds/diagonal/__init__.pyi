from .ceiling import DiagonalBound as DiagonalBound
from .ceiling import FrontierPoint as FrontierPoint
from .ceiling import diagonal_bounds as diagonal_bounds
from .ceiling import frontier as frontier
from .cuts import Crossing as Crossing
from .cuts import DiagonalCuts as DiagonalCuts
from .stages import Stage as Stage
from .stages import Window as Window
