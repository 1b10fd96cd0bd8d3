"""A run in the formats of other programs; the command line is `python -m lift_jax.export --help`.

    stablehlo      model.stablehlo: the whole classifier for jax.export and whatever runs StableHLO
    onnx           model.onnx: the whole classifier for onnxruntime; needs the package jax2onnx
    safetensors    run.safetensors: tuner and head alone, which `lift_jax.load` reads; the backbone is named by its hash
    merged         merged/: a plain backbone in the layout of transformers, into which LoRA, SSF, masks and whatever was
                   trained of its own weights are put; and head.safetensors
    peft           peft/: LoRA as an adapter of peft for transformers' CLIP, and head.safetensors
    reference      checkpoint.pth.tar of the authors' implementation; needs torch

The first two take uint8 images, RGB, and give float32 logits [batch, classes]; model.json beside them has the names of
the classes and all else that a program must know. StableHLO takes photographs [batch, height, width, 3] of any size, to
be decoded only; it is compiled for each size anew, unless --squares leaves resizing and cropping to the program. ONNX
takes such squares [batch, side, side, 3]: the short side is resized, and the centre is cropped, as model.json says. It
computes in float32, also of a run in bfloat16.

The calibration of a run (see `python -m lift_jax.calibrate`) is inside the graphs and run.safetensors, unless --raw
leaves it out; the others are weights alone. Where it mixes in the zero-shot classifier, a graph has both towers.
"""
