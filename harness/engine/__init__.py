"""One decoding engine over stock transformers models: arena, masks, trees, token choice, loop.

The hot loop is :meth:`harness.engine.loop.EngineDecoder.steps`.
"""
