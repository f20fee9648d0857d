"""Models that other servers run: Mistral's wire in front of vLLM, SGLang, llama.cpp's server and their kind."""
