"""What has to be there before a deal is bound: image and inputs, and who answers for a provider."""
