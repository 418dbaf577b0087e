"""What a client sees of an answer: ``cleaning`` makes words harmless, ``showing`` picks, ``frames`` and ``open_webui``
write, ``streaming`` sends.
"""
