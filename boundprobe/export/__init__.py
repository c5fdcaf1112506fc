"""The generators for use elsewhere: files, a PyTorch dataset, a Hugging Face dataset."""
