from .bound import Bound as Bound
from .catalogue import CATALOGUE as CATALOGUE
from .catalogue import catalogue_to_json as catalogue_to_json
from .task import BoundsReport as BoundsReport
from .task import bounds_report as bounds_report
from .verdict import Verdict as Verdict
from .verdict import Witness as Witness
from .verdict import model_verdicts as model_verdicts
