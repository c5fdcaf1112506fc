from .operations import DECAYED_ATTENTION as DECAYED_ATTENTION
from .operations import DELTA_RULE as DELTA_RULE
from .operations import decayed_attention as decayed_attention
from .operations import delta_rule as delta_rule
from .reference import decayed_attention_reference as decayed_attention_reference
from .reference import delta_rule_reference as delta_rule_reference
