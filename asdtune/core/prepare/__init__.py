"""Prepare the data: videos to chunks, face crops, MFCC and windows."""
