"""ONNX models, written from the graph of a LiteRT file, and run by ONNX Runtime."""
