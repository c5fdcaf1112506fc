"""What a trained model's state certainly holds, beside what theory requires."""
