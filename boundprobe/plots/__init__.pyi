from .figure import project_style as project_style
from .figure import save_figure as save_figure
from .plane import PlanePoint as PlanePoint
from .plane import draw_plane as draw_plane
from .plane import least_bits as least_bits
