"""What git calls in a hosted repository. Each file stands alone: it is copied into the repository and knows nothing of Manor."""
