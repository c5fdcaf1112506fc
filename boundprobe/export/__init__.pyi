from .blocks import SampleStream as SampleStream
from .files import write_stream as write_stream
from .hugging_face import to_hugging_face as to_hugging_face
from .torch_dataset import SequenceDataset as SequenceDataset
