"""The commands of lift_jax."""

from lift_jax.dispatch import Command

COMMANDS = {
    "train": Command("lift_jax.main", "train on a folder of images, or as a config says, and evaluate"),
    "eval": Command("lift_jax.main", "evaluate a run again", ("--mode=eval",)),
    "sweep": Command("lift_jax.main", "several trainings: 'method=lift,lora seed=0,1' photos", ("--sweep",)),
    "features": Command("lift_jax.features", "compute features of images once, for all runs that need them"),
    "predict": Command("lift_jax.predict", "the classes of new images"),
    "serve": Command("lift_jax.serve", "a page and a REST service that answer for new images"),
    "calibrate": Command("lift_jax.calibrate", "make a run's probabilities right, for predict"),
    "soup": Command("lift_jax.soup", "the average of several runs, as a run"),
    "review": Command("lift_jax.review", "labels that look wrong, copies, and uncertain images, to decide about"),
    "report": Command("lift_jax.report", "draw a run's report.html anew"),
    "compare": Command("lift_jax.report", "runs side by side, as a table and a page", ("compare",)),
    "analyze": Command("lift_jax.analyze", "the paper's figures of heavy and light fine-tuning, for your runs"),
    "export": Command("lift_jax.export", "a run as StableHLO, ONNX, safetensors, or for peft"),
    "push": Command("lift_jax.push", "a run on the Hugging Face hub, with a model card"),
    "prepare": Command("lift_jax.data.prepare", "a benchmark's records for training"),
    "convert": Command("lift_jax.weights.convert", "a backbone into another format"),
    "backbones": Command("lift_jax.backbones", "the backbones that are known by short names"),
    "doctor": Command("lift_jax.doctor", "whether this machine is ready, and what to mend"),
    "completion": Command("lift_jax.completion", "a script by which a shell completes commands and flags"),
    "bench": Command("lift_jax.bench", "measure speed and memory, and try bad inputs and kills"),
}
"""By their names, in the order of the help."""
