"""The logic environment: Logic-LM programs, read strictly and run by Pyke or by a forward chainer."""
