"""The data section of a config."""

from ml_collections import ConfigDict


def data_defaults() -> ConfigDict:
    """Makes the default `config.data`: every key, with the values that load scikit-learn's digits."""
    data = ConfigDict()
    data.name = "digits"  # what messages and reports call the data set; for format "tfds" the builder's name
    data.format = "digits"  # one of sources.FORMATS
    data.root = ""  # folder or archive of the images, also in a bucket, or hf://datasets/…, or TFDS data_dir (tfds)
    data.train_list = ""  # file that lists the training split; for "folder" a sub-folder of root; for others a split
    data.test_list = ""  # the same for the test split; "" for "folder" and "csv": found, or split off (val_fraction)
    data.class_names = ""  # file of class names, see name_files.read; "" takes them from the data set
    data.corrections = ""  # a table of image paths and right labels ("" leaves an image out), of lift_jax.review
    data.imbalance = 0  # largest over smallest class of a CIFAR-LT style training subset; 0 trains on all images
    data.cap = 0  # at most so many images of a class are trained on, chosen by config.seed; 0 for all
    data.permute_classes = 0  # digits, letters: 0 makes classes rarer in label order, else a seed of an order
    data.level = "species"  # inaturalist: classes by kingdom, phylum, class, order, family, genus or species
    data.val_fraction = (
        0.0  # share of each class that becomes the test split (not config.validation) where there is none
    )
    data.label_column = ""  # csv, parquet, webdataset: column (or key) of the labels where there are several
    data.group_column = ""  # csv, parquet: column of what no split divides, such as patient, camera or specimen
    data.sampler = "shuffle"  # or "balanced", "square_root", "class_aware": see samplers.EpochOrder
    data.randaugment = 0  # operations of RandAugment on each training crop; 0 for none, as in the papers
    data.randaugment_magnitude = 9  # from 0 to 30
    data.fidelity = "close"  # of the training crops' pixels: exact, close, scaled; see resampling.FIDELITIES
    data.test_fidelity = "exact"  # of the test images' pixels
    data.num_workers = 0  # worker processes that decode images; 0 uses threads of the main process
    data.skip_bad_images = False  # go on without images that cannot be decoded, instead of stopping
    data.exif_rotate = False  # turn photographs as their EXIF tag says; the reference does not
    return data
