"""What a finished study hands over: the recipe's file, the model card and the registered model."""
