"""Programs of the official package's generations, read and moved to this one. Nothing of them is run."""
