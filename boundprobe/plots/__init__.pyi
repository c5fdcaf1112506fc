from .figure import project_style as project_style
from .figure import save_figure as save_figure
