"""Methods by name: `build("losses/metric", "triplet(margin=0.3)")` imports the file and constructs its class."""

from tfrecords.methods import ROOT, arguments, build, method_class, methods, neighbours, parse

__all__ = ["ROOT", "arguments", "build", "method_class", "methods", "neighbours", "parse"]
