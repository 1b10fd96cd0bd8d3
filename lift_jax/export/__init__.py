"""A run in the formats of other programs; the command line is `python -m lift_jax.export --help`.

    stablehlo      model.stablehlo: the whole classifier for jax.export and whatever runs StableHLO
    onnx           model.onnx: the whole classifier for onnxruntime; needs the package jax2onnx
    safetensors    run.safetensors: tuner and head alone, which `lift_jax.load` reads; the backbone is named by its hash
    merged         merged/: a plain backbone in the layout of transformers, into which LoRA, SSF, masks and whatever was
                   trained of its own weights are put; and head.safetensors
    peft           peft/: LoRA as an adapter of peft for transformers' CLIP, and head.safetensors
    reference      checkpoint.pth.tar of the authors' implementation; needs torch

The first two take uint8 images [batch, side, side, 3] and give float32 logits [batch, classes]; the normalisation is
inside. What comes before is in model.json beside them: the short side is resized, and the centre is cropped. It is left
to the program that decodes the photograph; inside, each size of photographs would have to be compiled anew.
"""
